import time

numbers = [int(word) for word in input().split()]
while time.process_time() < 0.2:
    pass
print(sum(numbers))
print("squares:", *(number * number for number in numbers))
