"""What mode=export is made of: what is exported, the formats, what they are compared with, and how fast they are."""
