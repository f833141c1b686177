"""`scripts/bench peers`: how to measure another balancer beside this one, on the same machine. Nothing of theirs is here, and
nothing is fetched: whoever compares brings the program."""

from __future__ import annotations

from dataclasses import dataclass

FAIR = """What makes figures comparable: one machine, one run, in turn (A B A B ...), medians, ratios; as many flows, backends and bytes
a frame on both sides; frames that are cold on both sides or warm on both; and it is said what each remembers of a flow.
The commands are as the peers' own documents and sources have them (VPP 25.02); they were not run here.
"""


@dataclass(frozen=True)
class Peer:
    name: str
    needs: str
    theirs: tuple[str, ...]  # commands
    figure: str
    ours: tuple[str, ...]
    beside: str  # which of ours it stands beside, and what is not the same


PEERS = {
    "katran": Peer(
        name="Katran: its XDP program in the kernel's test harness",
        needs="its own build with its tests, the program compiled with -DINLINE_DECAP (its performance fixtures want that), root",
        theirs=("katran_tester -balancer_prog ./balancer.bpf.o -perf_testing -repeat 1000000", ),
        figure="nanoseconds a run, for each of its packets; `-position N` repeats one of them",
        ours=('sudo scripts/bench xdp',),
        beside="the cases `one-flow` and `no-vip`. Its packets are one and the same frame each time, so all it knows of a flow is in the "
               "cache: many flows and new ones cannot be seen this way without a wrapper that changes the frame, as bench/xdp.bpf.c is for "
               "ours. Take the harness off both: what a program costs that returns at once."),
    "vpp": Peer(
        name="VPP: its lb plugin over memif",
        needs="VPP with the plugins lb and memif, two CPUs, DPDK's testpmd (Debian: dpdk-dev)",
        theirs=(
            "dpdk-testpmd --in-memory --no-pci --lcores=0@0,1@0 \\\n"
            "      --vdev=net_memif0,role=server,socket=/tmp/memif0.sock,socket-abstract=no \\\n"
            "      --vdev=net_memif1,role=server,socket=/tmp/memif1.sock,socket-abstract=no -- \\\n"
            "      --forward-mode=flowgen --flowgen-flows=1024 --txpkts=60 --port-topology=chained --nb-cores=1 --disable-link-check",
            "vppctl create memif socket id 1 filename /tmp/memif0.sock     # and id 2, memif1.sock",
            "vppctl create interface memif id 0 socket-id 1 slave hw-addr 00:01:02:03:04:01     # and socket-id 2",
            "vppctl set interface state memif1/0 up     # and memif2/0",
            "vppctl set interface ip address memif2/0 10.99.0.1/24",
            "vppctl set ip neighbor memif2/0 10.99.0.100 02:00:00:00:01:00     # for each backend",
            "vppctl lb conf ip4-src-address 10.99.0.1 buckets 1048576",
            "vppctl lb vip 10.253.0.0/16 encap gre4 new_len 65536     # testpmd's flows go to 10.253.0.0 on",
            "vppctl lb as 10.253.0.0/16 10.99.0.100 10.99.0.101     # ...",
            "vppctl clear runtime; sleep 10; vppctl show runtime",
        ),
        figure="clocks a packet: of the nodes memif-input, ethernet-input, ip4-input, ip4-lookup, lb4-gre4, ip4-rewrite and the interface's "
               "output together, over the CPU's GHz",
        ours=("sudo scripts/bench memif",),
        beside="`the forwarder is busy`, which includes receiving and sending over memif, as their sum does. Set `encapsulation = \"gre\"` in "
               "bench/harness/memif.py's configuration to compare the same bytes."),
}


def text(name: str) -> str:
    peer = PEERS[name]
    theirs = "\n".join(f"  {command}" for command in peer.theirs)
    ours = "\n".join(f"  {command}" for command in peer.ours)
    return (f"== {name}\n{peer.name}\nNeeds: {peer.needs}.\n\nTheirs:\n{theirs}\n  reads: {peer.figure}.\n\n"
            f"Ours, in turn with it:\n{ours}\n  stands beside it: {peer.beside}\n")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        print(f"scripts/bench peers: nothing is known of {unknown[0]}; of these it is: {', '.join(PEERS)}")
        return 2
    print("\n".join([FAIR, *(text(name) for name in names or PEERS)]))
    return 0
