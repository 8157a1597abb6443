using Boxer.Images.Layers;

namespace Boxer.Fuzz;

/// <summary>Options in the first byte of an input. The bit 0x40 has no meaning: it makes the byte a letter.</summary>
[Flags]
internal enum LayerInputFlags : byte
{
    None = 0,

    /// <summary><see cref="WhiteoutFormat.Overlay"/> with a directory per layer; else <see cref="WhiteoutFormat.Applied"/> with one for all layers.</summary>
    Overlay = 1,

    /// <summary>Sets <see cref="LayerExtractionOptions.KeepOwners"/>.</summary>
    KeepOwners = 2,

    /// <summary>Uses the archives without repairing their headers.</summary>
    AsIs = 4,

    /// <summary>Passes the archives as seekable streams, without decompression.</summary>
    Seekable = 8,

    /// <summary>Makes each read return a few bytes only.</summary>
    ShortReads = 16,

    /// <summary>Reads the archives as lines of text: <see cref="LineArchive"/>.</summary>
    Lines = 32,
}

/// <summary>
/// A parsed input: <see cref="LayerInputFlags"/>, followed either by lines, or by a byte with the number of blocks of the first layer (0: one
/// layer only) and the archives.
/// </summary>
/// <param name="Flags">Options from the first byte.</param>
/// <param name="Layers">The layers, lowest first.</param>
internal sealed record LayerInput(LayerInputFlags Flags, IReadOnlyList<byte[]> Layers)
{
    /// <summary>Maximum number of bytes of an input; the rest is ignored.</summary>
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
