using System.Net;

namespace Boxer.Network.Links;

/// <summary>The two addresses of a point-to-point link (RFC 3021): the host's end and the sandbox's end.</summary>
internal sealed record AddressPair(IPAddress Host, IPAddress Guest);
