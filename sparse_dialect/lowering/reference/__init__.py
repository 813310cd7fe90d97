"""The reference: sparse ops as plain linalg, without regard to speed. ``PASSES`` lists stems."""

PASSES = ("lower-to-reference",)
