using Boxer.Running;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Running;

public sealed class PullEventsTests
{
    private const string Image = "docker.io/library/a:1";
    private readonly FakeTimeProvider _time = new();
    private readonly RunEvents _events = new();

    [Fact]
    public async Task A_layer_is_reported_at_most_every_interval_and_when_it_is_stored()
    {
        using var pull = new PullEvents(Image, _events, _time);
        Task<List<string>> reading = ReadAsync();
        pull.Begin();
        for (int bytes = 0; bytes < 1_000; bytes++)
        {
            pull.Report(new("a", bytes, 1_000, IsStored: false));
            _time.Advance(TimeSpan.FromMilliseconds(1));
            await Task.Yield();
        }

        pull.Report(new("a", 1_000, 1_000, IsStored: true));
        pull.Dispose();
        pull.Report(new("b", 1, 1, IsStored: true));
        _events.Complete();

        // A fast reader sees at least the first and the last event.
        List<string> told = await reading;
        Assert.Equal("begins", told[0]);
        Assert.Equal("a 1000 True", told[^1]);
        Assert.InRange(told.Count, 2, 6);
    }

    [Fact]
    public async Task For_a_slow_reader_one_event_of_each_layer_waits()
    {
        using var pull = new PullEvents(Image, _events, _time);
        pull.Begin();
        for (int i = 0; i < 1_000; i++)
        {
            pull.Report(new($"layer {i % 200}", i, 1_000, IsStored: false));
            _time.Advance(PullEvents.Interval);
        }

        _events.Add(new SandboxStarted("id"));
        _events.Complete();
        List<string> told = await ReadAsync();
        Assert.Equal(1 + PullEvents.MaxLayers + 1, told.Count);
        Assert.Equal(["begins", "layer 0 800 False"], told[..2]);
        Assert.Equal("SandboxStarted", told[^1]);
    }

    [Fact]
    public async Task An_image_whose_layers_are_all_here_is_not_reported_as_pulled()
    {
        using (var pull = new PullEvents(Image, _events, _time))
        {
            pull.Report(new("a", 5, 5, IsStored: true));
            pull.Report(new("b", 5, 5, IsStored: true));
        }

        using (var pull = new PullEvents(Image, _events, _time))
        {
            pull.Report(new("a", 5, 5, IsStored: true));
            pull.Report(new("b", 0, 5, IsStored: false));
        }

        _events.Complete();
        Assert.Equal(["begins", "a 5 True", "b 0 False"], await ReadAsync());
    }

    private async Task<List<string>> ReadAsync()
    {
        var told = new List<string>();
        await foreach (SandboxEvent item in _events.ReadAllAsync())
        {
            told.Add(item switch
            {
                SandboxImagePulling { Image: Image, Layer: null } => "begins",
                SandboxImagePulling { Image: Image, Layer: { } layer } => $"{layer.Digest} {layer.Bytes} {layer.IsStored}",
                _ => item.GetType().Name,
            });
        }

        return told;
    }
}
