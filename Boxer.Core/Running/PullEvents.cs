using Boxer.Images;

namespace Boxer.Running;

/// <summary>
/// Turns the progress of a pull into events of the run that waits for it: for at most <see cref="MaxLayers"/> layers, each at most once every
/// <see cref="Interval"/> and at its end.
/// </summary>
/// <param name="image">The canonical reference of the image.</param>
/// <param name="events">Receives the events.</param>
/// <param name="time">The clock.</param>
internal sealed class PullEvents(string image, RunEvents events, TimeProvider time) : IProgress<PullProgress>, IDisposable
{
    internal const int MaxLayers = 128;
    internal static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, long> _reportedAt = new(StringComparer.Ordinal);
    private readonly List<PullProgress> _ready = [];
    private bool _hasBegun;
    private bool _hasEnded;

    /// <summary>Reports that a pull is under way, once.</summary>
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
            bool isKnown = _reportedAt.TryGetValue(value.Digest, out long reportedAt);
            if (_hasEnded || (isKnown ? !value.IsStored && time.GetElapsedTime(reportedAt, now) < Interval : _reportedAt.Count == MaxLayers))
            {
                return;
            }

            _reportedAt[value.Digest] = now;
            if (!_hasBegun && value.IsStored)
            {
                // An image is not pulled if all its layers are here.
                _ready.Add(value);
                return;
            }

            Begin();
            events.Add(new SandboxImagePulling(image, value));
        }
    }

    /// <summary>Stops reporting: the run goes on.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _hasEnded = true;
        }
    }
}
