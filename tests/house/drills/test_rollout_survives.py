"""What a rollout must survive, line by line, and the drill that shows it: the table to read first.

Each drill injects the fault into a rollout with real Envoy, guard, watcher and services, and looks
from outside: at what the client lost, failed or got wrong, at who answers the public port, at the
record, and (in the rig, after each module) at processes that are left.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SURVIVES = {
    "job or runner killed at each stage": "order.a_job_that_ends_early anytime.fifty_random",
    "job killed between two writes": "anytime.a_job_that_dies_between_two_writes",
    "guard killed": "killed.a_guard_that_is_killed_comes_back anytime.fifty_random",
    "guard gone, frozen, or stuck with the lock": "killed.a_guard_that_is_gone "
    "killed.a_guard_that_is_stuck",
    "workflow cancelled": "order.a_job_that_ends_early",
    "one job re-run": "order.a_job_that_is_run_again order.a_stage_that_is_over",
    "canary killed": "killed.a_killed_canary anytime.fifty_random",
    "Envoy killed": "killed.a_killed_envoy anytime.fifty_random",
    "both killed": "killed.canary_and_envoy_killed_together anytime.fifty_random",
    "supervisor killed": "killed.a_killed_supervisor_comes_back "
    "killed.a_killed_supervisor_leaves anytime.fifty_random",
    "supervisor frozen": "killed.a_frozen_supervisor",
    "reboot in the middle": "killed.a_reboot_in_the_middle killed.what_ran_comes_back",
    "only 500": "rollout.a_bad_canary_is_caught rollout.a_canary_that_is_bad_under_users",
    "half 500": "rollout.a_bad_canary_is_caught rollout.a_canary_that_is_bad_under_users",
    "hangs": "rollout.a_bad_canary_is_caught rollout.a_canary_that_is_bad_under_users",
    "slow tail": "rollout.a_canary_that_is_bad_under_users",
    "ready but cannot predict": "arms.a_canary_that_answers_health_but_not_predict",
    "leaks": "arms.a_canary_that_leaks",
    "starts cold": "arms.a_canary_that_starts_cold",
    "errors hidden by retry": "arms.errors_that_retries_hide",
    "truncated, invalid, in-place or unknown-cluster route file": "files.a_damaged_route_file "
    "killed.files_that_were_tampered_with",
    "a full disk": "machine.a_full_disk machine.a_watcher_that_can_write_nothing",
    "no traffic": "rollout.without_traffic arms.without_errors_or_traffic",
    "no errors": "rollout.a_good_canary",
    "a late log": "files.a_late_log files.a_log_that_stops",
    "a rotated log": "files.a_log_that_is_rotated_or_deleted",
    "a torn log": "files.a_torn_log",
    "a clock that jumps": "machine.a_clock_that_jumps",
    "an outage of both arms": "arms.an_outage_of_both_arms",
    "a stable that is the bad one": "arms.a_stable_that_is_the_bad_one",
    "a taken port": "files.a_taken_port files.a_taken_public_port",
    "another model behind the port": "arms.another_model_behind_the_port "
    "files.another_model_at_the_port rollout.a_version_that_is_not_ready",
    "share unlike weight": "files.a_share_unlike_its_weight",
    "constant predictions": "rollout.a_bad_canary_is_caught",
    "swapped classes": "rollout.a_bad_canary_is_caught rollout.a_canary_that_is_bad_under_users",
    "one broken slice": "rollout.a_bad_canary_is_caught rollout.a_canary_that_is_bad_under_users",
    "two merges during a rollout": "order.two_merges",
    "a revert during a rollout": "order.a_revert_during_a_rollout",
    "a first deployment with no stable": "order.a_first_deployment",
    "a rollback target that is gone": "order.a_rollback_to_a_service_that_is_gone",
    "users and their arm, from stage to stage and on the way back": "order.no_user_stays",
    "a mirror that overloads": "arms.a_mirror_that_overloads",
}


@cache
def _drills(module: str) -> list[str]:
    name = "test_rollout.py" if module == "rollout" else f"test_rollout_{module}.py"
    tree = ast.parse((HERE / name).read_text("utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]


@pytest.mark.parametrize("line", SURVIVES)
def test_each_line_has_its_drill(line: str) -> None:
    """The drills named beside a line are there, each by a name that means no other."""
    for drill in SURVIVES[line].split():
        module, _, name = drill.partition(".")
        found = [n for n in _drills(module) if n.startswith(f"test_{name}")]
        assert len(found) == 1, f"{drill}: {found}"
