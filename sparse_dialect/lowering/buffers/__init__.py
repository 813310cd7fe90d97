"""From tensors to one arena, whatever the machine. ``PASSES`` lists stems in pipeline order."""

PASSES = ("adopt-buffers", "protect-inputs", "separate-results", "place-parts", "externalize-constants",
          "expand-copies", "record-assertions", "plan-memory")
