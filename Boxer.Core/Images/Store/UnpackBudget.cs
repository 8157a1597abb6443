namespace Boxer.Images;

/// <summary>What the layers of one image may unpack to, together.</summary>
/// <param name="limit">Bytes.</param>
internal sealed class UnpackBudget(long limit)
{
    private long _taken;

    /// <summary>Takes bytes.</summary>
    /// <param name="bytes">How many.</param>
    /// <exception cref="InvalidDataException">There are not so many left.</exception>
    public void Take(long bytes)
    {
        if (Interlocked.Add(ref _taken, bytes) > limit)
        {
            throw new InvalidDataException($"the image unpacks to more than {limit} bytes");
        }
    }

    /// <summary>Gives back what an attempt took that failed.</summary>
    /// <param name="bytes">How many.</param>
    public void Return(long bytes) => Interlocked.Add(ref _taken, -bytes);
}
