"""The tuner: searches a network's schedules by measurement, and keeps what is confirmed to be faster."""
