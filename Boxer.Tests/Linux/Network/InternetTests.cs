using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests that need only the internet of the tests.</summary>
/// <param name="internet">The internet of the tests. If it cannot be created, the tests are skipped.</param>
public abstract class InternetTests(TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    protected static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public virtual ValueTask InitializeAsync()
    {
        internet.Require();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }
}
