using System.Net;
using System.Net.Sockets;
using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Checks of values of <see cref="SettingTable"/> beyond ranges and choices. Each message is a sentence without its subject.</summary>
internal static class SettingChecks
{
    private const int MostDnsServers = 3;
    private const int MostRules = 256;
    private const int MostArguments = 1_024;

    internal static IEnumerable<(string, string)> Home(object value) =>
        If(value is not string path || !Path.IsPathFullyQualified(path) || path.Contains('\0', StringComparison.Ordinal), $"'{value}' must be an absolute path, such as /var/lib/boxer.");

    internal static IEnumerable<(string, string)> Program(object value) =>
        If(string.IsNullOrWhiteSpace((string)value), "must be a path or a program name, such as runsc.");

    internal static IEnumerable<(string, string)> CgroupParent(object value) =>
        If(value is "" || ((string)value).Split('/').Contains("..", StringComparer.Ordinal), $"'{value}' must be a path below the cgroup mount without '..'.");

    internal static IEnumerable<(string, string)> DockerConfigPath(object value) =>
        If(!Path.IsPathFullyQualified((string)value), $"'{value}' must be an absolute path, such as /root/.docker/config.json.");

    internal static IEnumerable<(string, string)> DnsServers(object value) =>
        Each(value, server => !IPAddress.TryParse(server, out IPAddress? address) ? $"'{server}' must be an IP address, such as 9.9.9.9."
            : IPAddress.IsLoopback(address) ? $"'{address}' is this host's loopback address, which sandboxes cannot reach; use another address of the resolver."
            : null)
        .Concat(If(((IList<string>)value).Count > MostDnsServers, $"must have at most {MostDnsServers} entries (resolv.conf(5))."));

    internal static IEnumerable<(string, string)> NetworkBlocks(object value) =>
        Each(value, text => IPNetwork.TryParse(text, out IPNetwork block) && block.BaseAddress.AddressFamily == AddressFamily.InterNetwork && block.PrefixLength is >= 16 and <= 30 && SpecialAddressRanges.IsPrivate(block)
            ? null
            : $"'{text}' must be a private IPv4 range of /16 to /30, such as 10.231.0.0/16.");

    internal static IEnumerable<(string, string)> RegistryNames(object value) =>
        Each(value, name => Images.RegistryName.IsValid(name) ? null : $"'{name}' must be a host or host:port, such as ghcr.io.");

    internal static IEnumerable<(string, string)> RegistryName(object value) =>
        (string)value == "" ? [("", "is missing; write a host or host:port, such as ghcr.io.")]
            : If(!Images.RegistryName.IsValid((string)value), $"'{value}' must be a host or host:port, such as ghcr.io.");

    internal static IEnumerable<(string, string)> Registries(object value) =>
        ((IList<RegistryOptions>)value).Index()
            .Where(item => item.Item is { Name.Length: > 0 })
            .GroupBy(item => Images.RegistryName.Canonical(item.Item.Name), StringComparer.OrdinalIgnoreCase)
            .SelectMany(group => group.Skip(1).Select(item => ($"[{item.Index}].Name", $"'{item.Item.Name}' is listed twice; merge the entries.")));

    internal static IEnumerable<(string, string)> Mirrors(object value) =>
        Each(value, place => Images.RegistryName.TryParseMirror(place, out _)
            ? null
            : $"'{place}' must be an http or https URL without user, query and fragment, such as http://127.0.0.1:5000.");

    internal static IEnumerable<(string, string)> Certificate(object value) =>
        If(!File.Exists((string)value), $"'{value}' is not a file; name one with certificates in PEM form.");

    internal static IEnumerable<(string, string)> Image(object value) =>
        (string)value == "" ? [("", "is missing; write an image reference, such as python:3.12-slim.")]
            : ImageReference.TryParse((string)value, out _, out string? fault) ? [] : [("", $"is not an image: {fault}")];

    internal static IEnumerable<(string, string)> PoolImages(object value) =>
        ((IList<PoolImageOptions>)value).Index()
            .Where(item => item.Item is { Image.Length: > 0 })
            .GroupBy(item => ImageReference.TryParse(item.Item.Image, out ImageReference? reference) ? reference.ToString() : item.Item.Image, StringComparer.Ordinal)
            .SelectMany(group => group.Skip(1).Select(item => ($"[{item.Index}].Image", $"'{item.Item.Image}' is listed twice; merge the entries.")));

    internal static IEnumerable<(string, string)> WarmUp(object value)
    {
        var command = (IList<string>)value;
        return If(command.Count > MostArguments, $"has {command.Count} arguments, but must have at most {MostArguments}.")
            .Concat(If(command.Any(argument => argument is null || argument.Contains('\0', StringComparison.Ordinal)) || command is ["", ..], "must be a program and its arguments, without NUL characters."));
    }

    internal static IEnumerable<(string, string)> Rules(object value) => ParseRules(value, out _);

    /// <summary>Parses egress rules.</summary>
    /// <param name="value">The list of texts.</param>
    /// <param name="rules">The well-formed rules; empty if there are too many.</param>
    /// <returns>The faults of the list.</returns>
    internal static IReadOnlyList<(string, string)> ParseRules(object value, out EgressRule[] rules)
    {
        var texts = (IList<string>)value;
        if (texts.Count > MostRules)
        {
            rules = [];
            return [("", $"must have at most {MostRules} rules; use ranges.")];
        }

        List<EgressRule> parsed = [];
        List<(string, string)> faults = [];
        for (int i = 0; i < texts.Count; i++)
        {
            if (EgressRule.TryParse(texts[i], out EgressRule? rule, out string? error))
            {
                parsed.Add(rule);
            }
            else
            {
                faults.Add(($"[{i}]", error));
            }
        }

        rules = [.. parsed];
        return faults;
    }

    private static IEnumerable<(string, string)> If(bool isWrong, string message) => isWrong ? [("", message)] : [];

    private static IEnumerable<(string, string)> Each(object list, Func<string, string?> find) =>
        ((IList<string>)list).Index().Select(item => ($"[{item.Index}]", find(item.Item))).Where(found => found.Item2 is not null)!;
}
