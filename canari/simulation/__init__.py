"""Rollouts in worlds that are described, thousands at once: what Canari's rule does there, and what others' do."""
