"""What computes: the elastic backbone with its decoders, and the policy that chooses glimpses."""
