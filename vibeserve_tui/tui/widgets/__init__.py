"""Drawing on the Line API: pure functions from values to lines, and the widgets that paint them."""
