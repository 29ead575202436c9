"""What a schedule calls: whatever is new is trained on, and promoted if it earned it."""
