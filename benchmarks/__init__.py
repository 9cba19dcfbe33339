"""What qpcore claims about itself and its peers, measured."""
