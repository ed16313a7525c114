"""Rules of ours in nftables: our own table, and accept rules in foreign chains."""
