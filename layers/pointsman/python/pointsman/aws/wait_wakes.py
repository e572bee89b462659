"""Returns traffic to targets that wait (pipeline/waits.py), without a process that runs all the time.

The function that notes that a cluster waits sends a wake. The one that gets it computes what is due, and sends the wake
for what waits longer. If a wake is lost, `reconcile` computes what is due, and sends another for the rest.
"""

from dataclasses import replace

from pointsman.aws.delays import Arming, Send
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.settle import Settled
from pointsman.pipeline.wait_watch import WaitWatch
from pointsman.pipeline.waits import Waits, swap_waits


def arm(engine: Engine, send: Send, *, taken: int = 0) -> bool:
    """Send a wake for what waits, unless one stands that comes early enough. Returns whether it did.

    `taken` is the moment of the wake that has just come, if one has. Raises StoreError.
    """
    arming = Arming(send, "Moment", taken)

    def change(waits: Waits) -> Waits:
        wake = arming.wake(waits.wake, waits.next, engine.now_ms())
        return waits if wake == waits.wake else replace(waits, wake=wake)

    swap_waits(engine, change)
    return bool(arming.sent)


def woken(engine: Engine, send: Send, moment: int) -> Settled | None:
    """The wake of `moment` has come: compute again what has waited for long enough, and send the wake for what waits
    longer. Returns what was settled, None if nothing was due.

    Raises StoreError; then the message comes again.
    """
    done = WaitWatch(engine).look()
    arm(engine, send, taken=moment)
    return done
