"""Digits read by networks that end in a QP: the paper's supplement, on data a package ships."""
