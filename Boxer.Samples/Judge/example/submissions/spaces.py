numbers = [int(word) for word in input().split()]
print(sum(numbers), "squares:", *(number * number for number in numbers))
