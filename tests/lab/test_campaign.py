"""The campaign's judge convicts what it should, and nothing else; its plans come again from their seeds."""

from __future__ import annotations

import unittest

from lab.campaign.__main__ import plan
from lab.campaign.events import KINDS
from lab.campaign.table import Said, markdown, row
from lab.campaign.timeline import black_holes, contradictions

TENTHS = [number / 10 for number in range(201)]  # twenty seconds


class Judgement(unittest.TestCase):
    def test_a_node_that_is_routed_and_silent(self) -> None:
        """From the last answer to the next, if that is longer than allowed."""
        routed = [(when, True) for when in TENTHS]
        [hole] = black_holes(routed, [when for when in TENTHS if not 5 < when < 10], 4, "vip")
        self.assertEqual((5, 10), (hole.began, hole.ended))
        self.assertEqual([], black_holes(routed, [when for when in TENTHS if not 5 < when < 8], 4, "vip"))

    def test_a_node_that_never_answers(self) -> None:
        self.assertEqual(1, len(black_holes([(when, True) for when in TENTHS], [], 4, "vip")))

    def test_a_node_that_is_withdrawn_in_time(self) -> None:
        """It is silent from 5 to 15, and the router knows from 8 to 14."""
        routed = [(when, not 8 <= when < 14) for when in TENTHS]
        self.assertEqual([], black_holes(routed, [when for when in TENTHS if not 5 < when < 15], 4, "vip"))

    def test_a_status_that_claims_what_is_not(self) -> None:
        routed = [(when, not 5 <= when < 12) for when in TENTHS]
        said = [(when, True) for when in TENTHS[::5]]
        [claim] = contradictions(said, routed, 4, "vip")
        self.assertEqual((5, 12), (claim.began, claim.ended))
        self.assertIn("announced and not routed", claim.what)

    def test_a_status_that_does_not_know_of_a_route(self) -> None:
        [claim] = contradictions([(when, False) for when in TENTHS], [(when, True) for when in TENTHS], 4, "vip")
        self.assertIn("routed and not announced", claim.what)

    def test_a_status_that_follows_or_says_nothing(self) -> None:
        routed = [(when, not 5 <= when < 12) for when in TENTHS]
        late = [(when, not 7 <= when < 14) for when in TENTHS]
        silent = [(when, None if 6 <= when < 12 else True) for when in TENTHS]
        self.assertEqual([], contradictions(late, routed, 4, "vip"))
        self.assertEqual([], contradictions(silent, routed, 4, "vip"))


class Plans(unittest.TestCase):
    def test_a_seed_gives_the_same_events(self) -> None:
        kinds = list(KINDS)
        self.assertEqual(plan(7, 300, kinds), plan(7, 300, kinds))
        self.assertNotEqual(plan(7, 300, kinds), plan(8, 300, kinds))

    def test_each_kind_comes_before_any_comes_again(self) -> None:
        kinds = list(KINDS)
        first = [event.kind for event in plan(3, 600, kinds)[:len(kinds)]]
        self.assertEqual(sorted(kinds), sorted(first))

    def test_one_at_a_time_and_all_in_time(self) -> None:
        events = plan(5, 90, list(KINDS))
        self.assertTrue(all(a.at + a.lasts < b.at for a, b in zip(events, events[1:])))
        self.assertLess(events[-1].at + events[-1].lasts, 90.1)


class Table(unittest.TestCase):
    def test_what_followed_an_event(self) -> None:
        """Noticed at 5.4, withdrawn at 6, silent from 5 to 9, routed again at 10; the event lasted from 5 to 8."""
        well = Said(True, True, frozenset(), frozenset({"vip"}), "a")
        ill = Said(True, False, frozenset({"carrier"}), frozenset(), "a")
        said = [(when, ill if 5.4 <= when < 9 else well) for when in TENTHS]
        routed = [(when, not 6 <= when < 10) for when in TENTHS]
        answered = [when for when in TENTHS if not 5 < when < 9]
        followed = row("carrier-lost", "xdp", 5, 8, 15, said, [routed], [answered])
        self.assertEqual("carrier", followed.by)
        for wanted, seen in ((0.4, followed.noticed), (1, followed.withdrawn), (4, followed.silence), (1, followed.answered),
                             (1.9, followed.routed)):
            assert seen is not None
            self.assertAlmostEqual(wanted, seen)

    def test_an_event_that_nothing_followed(self) -> None:
        well = Said(True, True, frozenset(), frozenset({"vip"}), "a")
        followed = row("mtu-changed", "xdp", 5, 8, 15, [(when, well) for when in TENTHS], [[(when, True) for when in TENTHS]],
                       [TENTHS])
        self.assertEqual((None, None, None, None), (followed.noticed, followed.withdrawn, followed.answered, followed.routed))
        self.assertIn("under 1 s", markdown([followed]))
