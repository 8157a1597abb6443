using Boxer.Native;

namespace Boxer.Images;

/// <summary>
/// The part of an image's fault that clients may see. The message of the fault itself may name endpoints, paths and options of this host, so only
/// reasons that are marked as public are shown.
/// </summary>
internal static class PublicReason
{
    private const string Key = "Boxer.PublicReason";
    private const string NoSpace = "this host has not enough disk space for it";

    /// <summary>Marks a fault whose message is public: it names only the image and limits.</summary>
    /// <param name="fault">The fault.</param>
    public static T AsPublic<T>(this T fault)
        where T : Exception => fault.AsPublic(fault.Message);

    /// <summary>Marks a fault with the reason that clients see instead of its message.</summary>
    /// <param name="fault">The fault.</param>
    /// <param name="reason">The end of a sentence that names the image, without a full stop.</param>
    public static T AsPublic<T>(this T fault, string reason)
        where T : Exception
    {
        fault.Data[Key] = reason.TrimEnd('.');
        return fault;
    }

    /// <summary>Gets the public reason of a fault, or of the one that caused it.</summary>
    /// <param name="fault">The fault.</param>
    /// <returns>The reason; <see langword="null"/> if there is none.</returns>
    public static string? Of(Exception? fault)
    {
        for (; fault is not null; fault = fault.InnerException)
        {
            if (fault.Data[Key] is string reason)
            {
                return reason;
            }

            if (fault is IOException { HResult: Errno.ENOSPC or Errno.EDQUOT })
            {
                return NoSpace;
            }
        }

        return null;
    }

    /// <summary>Makes a sentence for clients.</summary>
    /// <param name="what">The operation that failed, as a sentence without a full stop.</param>
    /// <param name="faults">The faults, whose public reasons the sentence has.</param>
    public static string Tell(string what, params IEnumerable<Exception?> faults)
    {
        string why = string.Join("; ", faults.Select(Of).OfType<string>().Distinct(StringComparer.Ordinal));
        return why.Length > 0 ? $"{what}: {why}." : $"{what}.";
    }
}
