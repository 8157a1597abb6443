kept = b"x" * (400 << 20)
print(len(kept))
