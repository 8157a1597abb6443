using Boxer.Images.Layers;
using Boxer.Images.Store;

namespace Boxer.Tests.Support;

/// <summary>Copies options with a change.</summary>
internal static class OptionsCopies
{
    internal static ImageStoreOptions With(this ImageStoreOptions options, Action<ImageStoreOptions> change)
    {
        ImageStoreOptions copy = options.Copy();
        change(copy);
        return copy;
    }

    internal static LayerExtractionOptions With(this LayerExtractionOptions options, Action<LayerExtractionOptions> change)
    {
        LayerExtractionOptions copy = options.Copy();
        change(copy);
        return copy;
    }
}
