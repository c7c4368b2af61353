"""What ranks tell each other while each works by itself."""

from __future__ import annotations

import time

import pytest

from tests.gloo import on_ranks
from transfer_cli.engine.ranks.agreement import Following, first_stop
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import FirstRankEnded, LostRankError, Stopped


def works(stop: Stop) -> None:
    for _ in range(500):
        stop.check("at work")
        time.sleep(0.01)


def asked(world: World) -> int:
    """The code that a rank ends with, where the last one alone is asked to end."""
    own = Stop()
    own.code = 75 if world.rank == world.size - 1 else None
    try:
        works(first_stop(world) if world.is_first else Following(own, world))
    except Stopped as stopped:
        world.end(stopped.code, lost=False)
        return stopped.code
    except FirstRankEnded as ended:
        world.end(ended.code, lost=False)
        return ended.code
    return 0


def test_a_rank_that_is_asked_to_end_while_it_works_by_itself_ends_all() -> None:
    assert on_ranks(3, asked) == [75, 75, 75]


def loses(world: World) -> None:
    if world.rank == 2:
        world.end(3, lost=True)
    elif world.rank == 1:
        with pytest.raises(LostRankError, match="resume=auto"):
            works(Following(Stop(), world))


def test_a_rank_that_works_by_itself_learns_of_one_that_failed() -> None:
    on_ranks(3, loses)


def test_alone_nobody_else_is_asked() -> None:
    first_stop(ALONE).check("at work")
