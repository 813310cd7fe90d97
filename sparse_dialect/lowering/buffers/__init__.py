"""From tensors to one arena, whatever the machine. ``PASSES`` lists stems in pipeline order."""

PASSES = ("adopt-buffers", "separate-results", "expand-copies", "externalize-constants", "record-assertions",
          "plan-memory")
