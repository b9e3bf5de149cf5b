"""The recorder in other people's training loops: one file per framework, which alone imports it."""
