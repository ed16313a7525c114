"""Where forwarded packets are dropped, and where an accept of ours belongs."""
