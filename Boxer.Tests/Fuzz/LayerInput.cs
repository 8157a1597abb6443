using Boxer.Images.Layers;

namespace Boxer.Fuzz;

/// <summary>What the first byte of an input chooses. The bit 0x40 says nothing: with it the byte is a letter.</summary>
[Flags]
internal enum LayerInputFlags : byte
{
    None = 0,

    /// <summary><see cref="WhiteoutFormat.Overlay"/>, with a directory for each layer; else <see cref="WhiteoutFormat.Applied"/>, with one for all.</summary>
    Overlay = 1,

    /// <summary><see cref="LayerExtractionOptions.KeepOwners"/>.</summary>
    KeepOwners = 2,

    /// <summary>The archives are used as they are: nothing is repaired.</summary>
    AsIs = 4,

    /// <summary>The archives are given as streams that can seek, and not decompressed.</summary>
    Seekable = 8,

    /// <summary>Reads give a few bytes at a time.</summary>
    ShortReads = 16,

    /// <summary>The archives are written as lines: <see cref="LineArchive"/>.</summary>
    Lines = 32,
}

/// <summary>
/// An input, cut up: <see cref="LayerInputFlags"/>, then either lines, or a byte that says how many blocks the first layer has (0: there is only
/// one) and the archives.
/// </summary>
/// <param name="Flags">What the first byte chooses.</param>
/// <param name="Layers">The layers, lowest first.</param>
internal sealed record LayerInput(LayerInputFlags Flags, IReadOnlyList<byte[]> Layers)
{
    /// <summary>The bytes of an input that are looked at.</summary>
    public const int MaxBytes = 64 * 1024;

    private const int BlockSize = 512;

    public static LayerInput Parse(ReadOnlySpan<byte> input)
    {
        LayerInputFlags flags = input.Length > 0 ? (LayerInputFlags)input[0] : LayerInputFlags.None;
        if (flags.HasFlag(LayerInputFlags.Lines))
        {
            return new(flags, LineArchive.Layers(input[1..]));
        }

        int split = input.Length > 1 ? input[1] * BlockSize : 0;
        ReadOnlySpan<byte> archives = input.Length > 2 ? input[2..] : default;
        byte[][] layers = split > 0 && split < archives.Length ? [archives[..split].ToArray(), archives[split..].ToArray()] : [archives.ToArray()];
        if (!flags.HasFlag(LayerInputFlags.AsIs))
        {
            foreach (byte[] layer in layers)
            {
                HeaderRepair.Repair(layer);
            }
        }

        return new(flags, layers);
    }
}
