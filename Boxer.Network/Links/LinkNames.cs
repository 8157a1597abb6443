namespace Boxer.Network.Links;

/// <summary>Names of links and namespaces on this host. They carry the instance that owns them. A link name has at most 15 characters (IFNAMSIZ).</summary>
internal static class LinkNames
{
    /// <summary>Prefix of the links and namespaces of all instances.</summary>
    internal const string CommonPrefix = "bx";

    /// <summary>Length of the identifier of an instance, in characters.</summary>
    internal const int IdLength = 8;

    /// <summary>Prefix of the links and namespaces of one instance.</summary>
    internal static string Prefix(string instanceId) => CommonPrefix + instanceId;

    /// <summary>Name of the host's end of a link. The lowest 20 bits of the number count.</summary>
    internal static string Link(string instanceId, uint number) => Prefix(instanceId) + Suffix(number);

    /// <summary>Name of the network namespace with the sandbox's end of a link.</summary>
    internal static string Namespace(string instanceId, uint number) => $"{Prefix(instanceId)}-{Suffix(number)}";

    /// <summary>The part of a name that tells the links of one instance apart: 5 hexadecimal digits.</summary>
    internal static string Suffix(uint number) => FormattableString.Invariant($"{number & 0xFFFFF:x5}");

    /// <summary>Whether a text is the identifier of an instance.</summary>
    internal static bool IsId(string text) => text.Length == IdLength && text.All(char.IsAsciiHexDigitLower);

    /// <summary>The instance that a name carries, or <see langword="null"/> if the name is not one of Boxer's.</summary>
    internal static string? InstanceOf(string name) =>
        name.StartsWith(CommonPrefix, StringComparison.Ordinal)
        && name.Length > CommonPrefix.Length + IdLength
        && IsId(name.Substring(CommonPrefix.Length, IdLength))
            ? name.Substring(CommonPrefix.Length, IdLength)
            : null;
}
