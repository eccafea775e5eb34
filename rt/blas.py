"""Linear algebra on the thread that asks for it.

NumPy's library would share even small products with a thread on every core, and these wait for the next product by
spinning: on two cores they took the one that the optical flow runs on, and a frame of 64 points lasted a third longer.
"""

from threadpoolctl import threadpool_limits


def on_one_thread() -> None:
    """From now on, in the whole process."""
    threadpool_limits(limits=1, user_api="blas")
