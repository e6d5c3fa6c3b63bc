"""Whole screens: each composes panes or forms and turns keys into commands."""
