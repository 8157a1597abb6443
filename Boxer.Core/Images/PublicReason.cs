using Boxer.Native;

namespace Boxer.Images;

/// <summary>
/// The public part of an image's fault: the message of the fault itself may name places, paths and options of this host. Only what is marked is told.
/// </summary>
internal static class PublicReason
{
    private const string Key = "Boxer.PublicReason";
    private const string NoRoom = "this host has no room for it";

    /// <summary>Marks a fault whose message speaks of the image and limits alone.</summary>
    /// <param name="fault">The fault.</param>
    public static T AsPublic<T>(this T fault)
        where T : Exception => fault.AsPublic(fault.Message);

    /// <summary>Marks a fault with what clients are told in place of its message.</summary>
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
    /// <returns><see langword="null"/> where that is nothing.</returns>
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
                return NoRoom;
            }
        }

        return null;
    }

    /// <summary>A sentence for clients.</summary>
    /// <param name="what">The operation that failed, as a sentence without a full stop.</param>
    /// <param name="faults">Why.</param>
    public static string Tell(string what, params IEnumerable<Exception?> faults)
    {
        string why = string.Join("; ", faults.Select(Of).OfType<string>().Distinct(StringComparer.Ordinal));
        return why.Length > 0 ? $"{what}: {why}." : $"{what}.";
    }
}
