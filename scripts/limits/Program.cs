// Prints the processors and the bytes of memory that .NET believes it has, a line for each.
using System.Globalization;

Console.WriteLine(Environment.ProcessorCount.ToString(CultureInfo.InvariantCulture));
Console.WriteLine(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes.ToString(CultureInfo.InvariantCulture));
