numbers = [int(word) for word in input().split()]
print(sum(numbers) + 1)
print("squares:", *(number * number for number in numbers))
