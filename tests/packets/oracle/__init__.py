"""What Linimo should do with every kind of packet, worked out with scapy and xxhash and none of Linimo's code."""
