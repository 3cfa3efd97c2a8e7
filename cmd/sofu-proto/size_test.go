package main

import (
	"testing"

	"sofutobanku/internal/budget"
)

func TestSize(t *testing.T) { budget.Hold(t, ".", "goflags") }
