"""A state database that sleeps, as Aurora does when nobody asks: whoever asks next waits until it is awake."""

from artifacts import figure
from running import SCHEDULER, UI, Running, all_healthy

WAKE_SECONDS = 12


def test_a_run_with_changes_waits_until_it_is_awake(agent, lab, running):
    state = lab.database()
    lab.put_parameter("scheduler/interval-seconds", "120")
    state.reset_counts()
    state.sleep(wake_after=WAKE_SECONDS)
    try:
        done = agent.converge()
    finally:
        state.wake()
    assert done.returncode == 0, done.text
    assert state.status()["wakes"] == 1, state.status()
    figure(f"converge while the database wakes for {WAKE_SECONDS} s: seconds", round(done.seconds, 1))
    assert agent.changed() == [f"container:{SCHEDULER}"]
    assert Running.on(agent).differs_from(running) == {SCHEDULER}


def test_one_that_refuses_while_it_wakes_is_asked_again(agent, lab, running):
    state = lab.database()
    state.reset_counts()
    state.sleep(wake_after=5, mode="refuse")
    try:
        done = agent.converge()
    finally:
        state.wake()
    assert done.returncode == 0, done.text
    assert state.status()["refused"] >= 1
    assert UI not in Running.on(agent).differs_from(running)
    assert all_healthy(agent)
