using System.Diagnostics.Metrics;
using System.Xml.Linq;
using Boxer.Admission;
using Boxer.Diagnostics;
using Boxer.Runtime;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core;

/// <summary>Statements of the documentation that the public face alone does not show.</summary>
public sealed class DocumentationTests
{
    [Fact]
    public void Termination_Message_is_documented_with_a_message_that_there_is()
    {
        XElement member = XDocument.Load(Path.Combine(AppContext.BaseDirectory, "Boxer.Core.xml")).Descendants("member")
            .Single(element => (string?)element.Attribute("name") == "P:Boxer.Termination.Message");
        var work = new CommandPlan(
            Start: null!, Files: [], Workspace: null, Stdin: default, StdinStream: null, Limits: LimitDefaults.Values, Cgroup: null!, Outputs: OutputFilePolicy.Discard, StopGrace: TimeSpan.Zero, StopSignal: 15)
        { Frame = default };

        Assert.Equal(Terminations.From(TerminationKind.WallClockLimit, new InitClosed(), work).Message, member.Descendants("c").Single().Value);
    }

    [Fact]
    public async Task Runs_queued_counts_what_waits_for_an_image_or_a_slot_and_runs_active_what_has_one()
    {
        var queue = new AdmissionQueue(new AdmissionBounds { Running = 1, MemoryBytes = 100, Processors = 1, Waiting = 10, Timeout = TimeSpan.FromMinutes(1) }, TimeProvider.System);
        using var metrics = new BoxerMetrics(() => queue.Count);
        using AdmissionQueue.Ticket running = queue.Enter(null);
        using IDisposable slot = await running.AcquireSlotAsync(100, TestContext.Current.CancellationToken);
        using AdmissionQueue.Ticket queued = queue.Enter(null);
        using IDisposable pulling = queue.EnterPull(null);
        var heard = new List<(string Name, int Value, string? Description)>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == BoxerMetrics.Name)
            {
                self.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<int>((instrument, value, _, _) => heard.Add((instrument.Name, value, instrument.Description)));
        listener.Start();
        listener.RecordObservableInstruments();

        // Runners of other tests are heard too.
        Assert.Contains(("boxer.runs.queued", 2, "Runs that have no running slot yet: they wait for one or for their image, or prepare the host."), heard);
        Assert.Contains(("boxer.runs.active", 1, "Runs that hold a running slot, until their sandbox is gone."), heard);
    }
}
