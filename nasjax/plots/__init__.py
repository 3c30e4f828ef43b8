"""Plots of searches, genotypes and studies."""
