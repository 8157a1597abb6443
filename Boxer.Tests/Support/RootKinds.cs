using Boxer.Images.Roots;
using Boxer.Images.Store;

namespace Boxer.Tests.Support;

/// <summary>Kinds of roots.</summary>
internal static class RootKinds
{
    public static TheoryData<ImageRootKind> All => [ImageRootKind.Overlay, ImageRootKind.Flattened];

    public static void SkipUnlessPossible(ImageRootKind kind)
    {
        if (kind == ImageRootKind.Overlay)
        {
            string? obstacle = OverlayMounts.GetUnavailableReason(Path.Combine(Path.GetTempPath(), "boxer-probe-" + Guid.NewGuid().ToString("N")));
            Assert.SkipWhen(obstacle is not null, obstacle ?? "");
        }
    }
}
