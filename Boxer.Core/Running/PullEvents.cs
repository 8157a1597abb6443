using Boxer.Images;

namespace Boxer.Running;

/// <summary>Makes events of a pull that a run waits for: at most <see cref="MaxLayers"/> layers, and each at most every <see cref="Interval"/> and at its end.</summary>
/// <param name="image">The canonical reference of the image.</param>
/// <param name="events">Where events go.</param>
/// <param name="time">The clock.</param>
internal sealed class PullEvents(string image, RunEvents events, TimeProvider time) : IProgress<PullProgress>, IDisposable
{
    internal const int MaxLayers = 128;
    internal static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, long> _told = new(StringComparer.Ordinal);
    private readonly List<PullProgress> _ready = [];
    private bool _hasBegun;
    private bool _hasEnded;

    /// <summary>Tells that a pull is under way, once.</summary>
    internal void Begin()
    {
        lock (_lock)
        {
            if (_hasBegun || _hasEnded)
            {
                return;
            }

            _hasBegun = true;
            events.Add(new SandboxImagePulling(image));
            foreach (PullProgress layer in _ready)
            {
                events.Add(new SandboxImagePulling(image, layer));
            }
        }
    }

    /// <inheritdoc/>
    public void Report(PullProgress value)
    {
        lock (_lock)
        {
            long now = time.GetTimestamp();
            bool isKnown = _told.TryGetValue(value.Digest, out long told);
            if (_hasEnded || (isKnown ? !value.IsStored && time.GetElapsedTime(told, now) < Interval : _told.Count == MaxLayers))
            {
                return;
            }

            _told[value.Digest] = now;
            if (!_hasBegun && value.IsStored)
            {
                // An image of which all is here is not pulled.
                _ready.Add(value);
                return;
            }

            Begin();
            events.Add(new SandboxImagePulling(image, value));
        }
    }

    /// <summary>Tells nothing any more: the run goes on.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _hasEnded = true;
        }
    }
}
