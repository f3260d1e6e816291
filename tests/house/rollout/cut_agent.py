"""An agent that ends in the middle of a call, as `cut` in its folder says: `apply before`.

The call is not performed (`before`), or it is and the answer never goes out (`after`). Once each.
"""

import os
import sys
from pathlib import Path

from mainline.rollout import agent

FOLDER = Path(sys.argv[1])
PERFORM = agent.Agent.perform


def perform(self, call, given):
    cut = FOLDER / "cut"
    moments = cut.read_text().split("\n") if cut.exists() else []
    for moment in (f"{call} before", f"{call} after"):
        if moment in moments:
            moments.remove(moment)
            cut.write_text("\n".join(moments))
            if moment.endswith("after"):
                PERFORM(self, call, given)
            os._exit(9)
    return PERFORM(self, call, given)


agent.Agent.perform = perform
os._exit(agent.main(sys.argv[1:]))
