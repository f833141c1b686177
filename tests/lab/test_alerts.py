"""The alert rules that are shipped: promtool finds nothing wrong with them, and each fires when it should, and not otherwise."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from promtool import promtool

RULES = Path(__file__).resolve().parents[2] / "packaging/prometheus/alerts.yml"

# Of each alert: series at which it fires alone, and the same while all is well. "0+60": grows by 60 a minute.
NODE = 'instance="lb1"'
BACKEND = f'{NODE},pool="web",backend="10.0.1.1"'
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "LinimoNotScraped": ({f'up{{job="linimo",{NODE}}}': "0+0"}, {f'up{{job="linimo",{NODE}}}': "1+0", f'up{{job="x",{NODE}}}': "0+0"}),
    "LinimoServesNothing": ({f"linimo_node_serves{{{NODE}}}": "0+0"}, {f"linimo_node_serves{{{NODE}}}": "1+0"}),
    "LinimoDataplaneGone": ({f"linimo_dataplane_connected{{{NODE}}}": "0+0"}, {f"linimo_dataplane_connected{{{NODE}}}": "1+0"}),
    "LinimoConditionFails": ({f'linimo_condition{{{NODE},name="carrier",subject="eth0"}}': "0+0"},
                             {f'linimo_condition{{{NODE},name="carrier",subject="eth0"}}': "1+0"}),
    "LinimoConfigurationRefused": ({f"linimo_config_last_reload_successful{{{NODE}}}": "0+0"},
                                   {f"linimo_config_last_reload_successful{{{NODE}}}": "1+0"}),
    "LinimoTablesRefused": ({f"linimo_publication_refused{{{NODE}}}": "1+0"}, {f"linimo_publication_refused{{{NODE}}}": "0+0"}),
    "LinimoRestartNeeded": ({f"linimo_config_restart_needed{{{NODE}}}": "1+0"}, {f"linimo_config_restart_needed{{{NODE}}}": "0+0"}),
    "LinimoIdsRunOut": ({f'linimo_ids_free{{{NODE},of="backends"}}': "99+0"}, {f'linimo_ids_free{{{NODE},of="backends"}}': "100+0"}),
    # A second backend that is up: neither the pool nor, before its time, a backend is news.
    "LinimoPoolDown": ({f"linimo_backend_up{{{BACKEND}}}": "1+0x114 0+0x6"},
                       {f"linimo_backend_up{{{BACKEND}}}": "1+0x114 0+0x6", f'linimo_backend_up{{{NODE},pool="web",backend="10.0.1.2"}}': "1+0"}),
    "LinimoPoolInPanic": ({f'linimo_pool_panic{{{NODE},pool="web"}}': "1+0"}, {f'linimo_pool_panic{{{NODE},pool="web"}}': "0+0"}),
    "LinimoBackendDown": ({f"linimo_backend_up{{{BACKEND}}}": "0+0", f'linimo_backend_up{{{NODE},pool="web",backend="10.0.1.2"}}': "1+0"},
                          {f"linimo_backend_up{{{BACKEND}}}": "1+0"}),
    "LinimoBackendFlaps": ({f"linimo_backend_held_back{{{BACKEND}}}": "1+0"}, {f"linimo_backend_held_back{{{BACKEND}}}": "0+0"}),
    "LinimoBackendsWithoutWay": ({f"linimo_backends_without_way{{{NODE}}}": "2+0"}, {f"linimo_backends_without_way{{{NODE}}}": "0+0"}),
    "LinimoTunnelsRefused": ({f'linimo_tunnel_errors_total{{{NODE},reason="no_port"}}': "0+60"},
                             {f'linimo_tunnel_errors_total{{{NODE},reason="no_port"}}': "7+0"}),
    "LinimoVipNotAnnounced": ({f'linimo_vip_announced{{{NODE},vip="203.0.113.10/32"}}': "0+0", f"linimo_announce_drain{{{NODE}}}": "0+0"},
                              {f'linimo_vip_announced{{{NODE},vip="203.0.113.10/32"}}': "0+0", f"linimo_announce_drain{{{NODE}}}": "2+0"}),
    "LinimoAnnouncementsFail": ({f"linimo_announce_failing{{{NODE}}}": "1+0"}, {f"linimo_announce_failing{{{NODE}}}": "0+0"}),
    "LinimoNoBgpSession": ({f'linimo_bgp_session_up{{{NODE},protocol="a"}}': "0+0", f'linimo_bgp_session_up{{{NODE},protocol="b"}}': "0+0"},
                           {f'linimo_bgp_session_up{{{NODE},protocol="a"}}': "0+0", f'linimo_bgp_session_up{{{NODE},protocol="b"}}': "1+0"}),
    "LinimoBirdSilent": ({f"linimo_bird_answers{{{NODE}}}": "0+0"}, {f"linimo_bird_answers{{{NODE}}}": "1+0"}),
    "LinimoNodesDisagree": ({'linimo_pool_digest{instance="lb1",pool="web"}': "7+0", 'linimo_pool_digest{instance="lb2",pool="web"}': "8+0"},
                            {'linimo_pool_digest{instance="lb1",pool="web"}': "7+0", 'linimo_pool_digest{instance="lb2",pool="web"}': "7+0",
                             'linimo_pool_digest{instance="lb1",pool="other"}': "8+0"}),
    "LinimoFleetStoreGone": ({f"linimo_fleet_store_in_reach{{{NODE}}}": "0+0"}, {f"linimo_fleet_store_in_reach{{{NODE}}}": "1+0"}),
    "LinimoFleetNobodyLeads": ({f"linimo_fleet_leads{{{NODE}}}": "0+0", f"linimo_fleet_store_in_reach{{{NODE}}}": "1+0"},
                               {f"linimo_fleet_leads{{{NODE}}}": "0+0", 'linimo_fleet_leads{instance="lb2"}': "1+0",
                                f"linimo_fleet_store_in_reach{{{NODE}}}": "1+0"}),
    "LinimoFleetAlarm": ({f'linimo_fleet_alarm{{{NODE},alarm="digest-mismatch"}}': "1+0"},
                         {f'linimo_fleet_alarm{{{NODE},alarm="digest-mismatch"}}': "0+0", f'linimo_fleet_alarm{{{NODE},alarm="store-out-of-reach"}}': "1+0"}),
    "LinimoFleetApart": ({f"linimo_fleet_revision{{{NODE}}}": "7+0", 'linimo_fleet_revision{instance="lb2"}': "8+0"},
                         {f"linimo_fleet_revision{{{NODE}}}": "7+0", 'linimo_fleet_revision{instance="lb2"}': "7+0"}),
    # What nobody but a scanner causes is not news, nor is one packet in a million.
    "LinimoDrops": ({f'linimo_packets_total{{{NODE},outcome="no_backend"}}': "0+600", f'linimo_packets_total{{{NODE},outcome="forwarded"}}': "0+60000"},
                    {f'linimo_packets_total{{{NODE},outcome="no_backend"}}': "0+600", f'linimo_packets_total{{{NODE},outcome="forwarded"}}': "0+600000000",
                     f'linimo_packets_total{{{NODE},outcome="no_service"}}': "0+60000000"}),
    "LinimoFramesLost": ({f'linimo_lost_frames_total{{{NODE},direction="receive"}}': "0+600"},
                         {f'linimo_lost_frames_total{{{NODE},direction="receive"}}': "9+0"}),
    "LinimoConnectionTablesFull": ({f'linimo_flows_unstored_total{{{NODE},worker="0"}}': "0+600"},
                                   {f'linimo_flows_unstored_total{{{NODE},worker="0"}}': "9+0"}),
    "LinimoWorkerBusy": ({f'linimo_worker_busy_seconds_total{{{NODE},worker="0"}}': "0+57"},
                         {f'linimo_worker_busy_seconds_total{{{NODE},worker="0"}}': "0+30"}),
}


class Alerts(unittest.TestCase):
    def test_each_has_a_case(self) -> None:
        self.assertEqual(set(CASES), set(re.findall(r"- alert: (\w+)", RULES.read_text())))

    def test_promtool_finds_nothing(self) -> None:
        self.promtool("check", "rules", str(RULES))

    def test_each_fires_when_it_should(self) -> None:
        """After two hours of it, that alert and no other; and none while all is well."""
        tests = []
        for name, sides in CASES.items():
            for series, firing in zip(sides, (name, None)):
                tests.append(self.case(series, firing))
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:  # JSON is YAML
            json.dump({"rule_files": [str(RULES)], "evaluation_interval": "4m", "tests": tests}, file)
            file.flush()
            self.promtool("test", "rules", file.name)

    def case(self, series: dict[str, str], firing: str | None) -> dict[str, Any]:
        return {"interval": "1m",
                "input_series": [{"series": name, "values": values if "x" in values else f"{values}x120"} for name, values in series.items()],
                "promql_expr_test": [{"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "2h",
                                      "exp_samples": [{"labels": f'{{alertname="{firing}"}}', "value": 1}] if firing else []}]}

    def promtool(self, *arguments: str) -> None:
        done = subprocess.run([str(promtool()), *arguments], capture_output=True, text=True)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
