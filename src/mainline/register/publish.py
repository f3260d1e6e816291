"""`mainline publish`: the GitHub release of a version, with all that is needed to use it.

It is a draft first and comes out when the tag is on the remote with every file uploaded: a run that
is stopped anywhere and started again ends in one release that is whole. Nothing is done twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainline import assets, registry, settings
from mainline.errors import DataError, RemoteError, UsageError
from mainline.files import digest_bytes, digest_tree, write_bytes
from mainline.git import git
from mainline.github import GitHub, write_output
from mainline.registry import Version
from mainline.report import artifact

# Beside the model: whatever of these the registration left.
FILES = ("reports/model_card.md", "reports/model_card.html", "reports/sbom.cdx.json",
         "reports/release.json", "reports/report.md", "reports/report.html")  # fmt: skip
PLOTS = "reports/plots"
PICTURES = frozenset({".png", ".svg"})
MOST_BODY = 60_000  # characters; GitHub allows 125,000
FOLDER = "build/release"
# By this a draft is known as ours; one that a person wrote is never touched.
MARK = "<!-- mainline:{} -->"


def run(
    root: Path, version: str | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Make the release of `version`, or without one bring out what a stopped run left as a draft.

    Returns {version, url, draft, text}. Raises RemoteError (21) without a token or where GitHub
    refuses, DataError (20) where a file is not the version's.
    """
    github = _asked(root, environ)
    model = settings.load(root).model.name
    if version is None:
        return _finish(root, github, model, environ)
    wanted = registry.find(root, model, version)
    files = gather(root, wanted)
    for name, content in files.items():
        write_bytes(root / FOLDER / name, content)
    release = _draft(github, wanted, root)
    done = _upload(github, release, files)
    url = str(release.get("html_url") or "")
    waits = bool(release["draft"]) and not pushed(root, wanted)
    if release["draft"] and not waits:
        url = _bring_out(github, release, newest=_newest(root, wanted))
    said = "a draft until its tag is pushed" if waits else url
    text = f"{wanted.tag}: {done} of {len(files)} files uploaded, {said}"
    write_output({"version": "" if waits else wanted.name}, environ)
    return {"version": wanted.name, "url": url, "draft": waits, "text": text}


def _asked(root: Path, environ: Mapping[str, str]) -> GitHub:
    found = GitHub.near(root, environ)
    if found is None:
        raise UsageError("There is no repository on GitHub to publish to: origin is elsewhere",
                         "Set GITHUB_REPOSITORY to owner/name")  # fmt: skip
    if not found.token:
        raise RemoteError("GITHUB_TOKEN is not set, so there is no GitHub release",
                          "Set it to a token that may write contents")  # fmt: skip
    return found


def gather(root: Path, version: Version) -> dict[str, bytes]:
    """Name -> content of each asset of `version`, from the checkout that registered it.

    Raises DataError where `models/` is not its model, or the SBOM not the one that its tag names.
    """
    models = root / "models"
    if not models.is_dir() or digest_tree(models) != version.digest:
        raise DataError(
            f"models/ does not hold the model of {version.tag}",
            f"Check out {version.commit[:12]} and run `./mainline pipeline`",
        )
    found = {assets.BUNDLE: assets.pack(models)}
    pictures = sorted(p for p in (root / PLOTS).glob("*") if p.suffix in PICTURES)
    for path in (*(root / name for name in FILES), *pictures):
        if path.is_file() and not path.is_symlink():
            found[path.name] = path.read_bytes()
    stated = version.trailers.get("SBOM-Digest")
    if stated and stated != digest_bytes(found.get("sbom.cdx.json", b"")):
        raise DataError(f"reports/sbom.cdx.json is not the one that {version.tag} names",
                        "Run `./mainline register` in this checkout")  # fmt: skip
    return found


def pushed(root: Path, version: Version) -> bool:
    """Whether the remote has the very tag that is here."""
    theirs = git(root, "ls-remote", "origin", f"refs/tags/{version.tag}").split("\t")[0]
    return bool(theirs) and theirs == git(root, "rev-parse", f"refs/tags/{version.tag}")


def _newest(root: Path, version: Version) -> bool:
    return registry.versions(root, version.model)[-1].tag == version.tag


def _of_tag(releases: list[dict[str, Any]], tag: str, model: str) -> list[dict[str, Any]]:
    """The releases for `tag`: what is out comes first, then our drafts, the oldest first."""
    mark = MARK.format(model)
    own = [r for r in releases if r.get("tag_name") == tag
           and (not r["draft"] or mark in str(r.get("body")))]  # fmt: skip
    return sorted(own, key=lambda r: (bool(r["draft"]), int(r["id"])))


def _draft(github: GitHub, version: Version, root: Path) -> dict[str, Any]:
    """The release that is there, else a new draft; what two runs at once made is made one."""
    known = _of_tag(github.get_all("releases"), version.tag, version.model)
    if not known:
        github.call("POST", "releases", {
            "tag_name": version.tag, "name": version.tag, "draft": True,
            "body": _body(root, version),
        })  # fmt: skip
        # Looked for again: another run may have made one at the same moment.
        known = _of_tag(github.get_all("releases"), version.tag, version.model)
        if not known:
            raise RemoteError(f"GitHub does not show the draft of {version.tag}", "Try again")
    for more in known[1:]:
        if more["draft"]:
            github.call("DELETE", f"releases/{int(more['id'])}")
    return known[0]


def _body(root: Path, version: Version) -> str:
    path = root / "reports" / "report.md"
    report = path.read_text("utf-8") if path.is_file() else ""
    said = artifact.harmless(report, MOST_BODY) if report else f"Model {version.digest}\n"
    return f"{said}\n{MARK.format(version.model)}\n"


def _upload(github: GitHub, release: Mapping[str, Any], files: Mapping[str, bytes]) -> int:
    """Upload what is missing; returns how many. A draft's file that differs is replaced.

    Raises DataError where a release that is out holds another model.
    """
    there = {a["name"]: a for a in release.get("assets") or ()}
    done = 0
    for name, content in files.items():
        known = there.get(name)
        if known is not None and _same(github, known, content):
            continue
        if known is not None:
            if not release["draft"]:
                if name == assets.BUNDLE:
                    raise DataError(f"{name} of the release {release['tag_name']} is not its model",
                                    "Look who changed it, and delete it there")  # fmt: skip
                continue  # a report that was made anew has other times in it
            github.call("DELETE", f"releases/assets/{int(known['id'])}")
        github.upload(str(release["upload_url"]), name, content)
        done += 1
    return done


def _same(github: GitHub, known: Mapping[str, Any], content: bytes) -> bool:
    # "starter" is what an upload that was cut off leaves behind.
    if known.get("state") != "uploaded" or int(known["size"]) != len(content):
        return False
    told = known.get("digest") or digest_bytes(github.download(int(known["id"]), len(content)))
    return bool(told == digest_bytes(content))


def _bring_out(github: GitHub, release: Mapping[str, Any], *, newest: bool) -> str:
    latest = "true" if newest else "false"
    answer = github.call("PATCH", f"releases/{int(release['id'])}",
                         {"draft": False, "make_latest": latest})  # fmt: skip
    return str(answer.get("html_url") or "")


def _finish(root: Path, github: GitHub, model: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Bring out each draft whose tag is on the remote and whose model is the tag's."""
    releases = github.get_all("releases")
    out = []
    for version in registry.versions(root, model):
        first = next(iter(_of_tag(releases, version.tag, model)), None)
        if first is None or not first["draft"] or not pushed(root, version):
            continue
        bundle = next((a for a in first.get("assets") or () if a["name"] == assets.BUNDLE), None)
        if bundle is None:
            raise DataError(f"The draft of {version.tag} has no {assets.BUNDLE}",
                            f"Run `./mainline publish {version.name}`")  # fmt: skip
        assets.check(github.download(int(bundle["id"]), assets.MOST_BYTES), version)
        _bring_out(github, first, newest=_newest(root, version))
        out.append(version.name)
    text = f"Brought out: {', '.join(out)}" if out else "No draft of a version waits"
    write_output({"version": out[-1] if out else ""}, environ)
    return {"version": ", ".join(out), "url": "", "draft": False, "text": text}
