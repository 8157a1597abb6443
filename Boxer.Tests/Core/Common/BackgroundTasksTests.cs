using Boxer.Common;

namespace Boxer.Tests.Core.Common;

public sealed class BackgroundTasksTests
{
    [Fact]
    public async Task WhenAllAsync_waits_for_an_operation_from_before_its_first_step()
    {
        var tasks = new BackgroundTasks();
        var end = new TaskCompletionSource();
        Task? waiting = null;

        Task operation = tasks.RunAsync(() =>
        {
            waiting = tasks.WhenAllAsync();
            Assert.False(waiting.IsCompleted);
            return end.Task;
        });
        Assert.False(waiting!.IsCompleted);
        end.SetResult();

        await operation;
        await waiting;
        Assert.True(tasks.WhenAllAsync().IsCompleted);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task RunAsync_throws_the_exception_of_its_operation_and_WhenAllAsync_ignores_it(bool atOnce)
    {
        var tasks = new BackgroundTasks();
        var end = new TaskCompletionSource();
        Task operation = tasks.RunAsync(() => atOnce ? throw new IOException("a fault") : end.Task);
        Task waiting = tasks.WhenAllAsync();
        end.SetException(new IOException("a fault"));

        await waiting;
        await Assert.ThrowsAsync<IOException>(() => operation);
    }
}
