"""What computes: ResNet-18 on the sphere, the heads on top of it, and the network made of them."""
