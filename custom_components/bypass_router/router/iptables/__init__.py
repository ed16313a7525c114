"""Rules of ours in iptables, in either of its variants."""
