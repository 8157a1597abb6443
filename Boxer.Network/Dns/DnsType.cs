namespace Boxer.Network.Dns;

/// <summary>Types of DNS records that Boxer reads.</summary>
internal enum DnsType : ushort
{
    None = 0,
    A = 1,
    Cname = 5,
    Aaaa = 28,
}
