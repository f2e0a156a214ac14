"""What the daemon counts, as /metrics tells it."""
from eyes import require


class Meters:
    """The metrics a script looks at, as they have grown since it began."""

    def __init__(self, play, gateway, lines):
        self.play, self.gateway = play, gateway
        self.before = {name: gateway.metric(name) for name in {line.word(0) for line in lines if line.actor == 'daemon'}}

    def grown(self, name):
        return self.gateway.metric(name) - self.before[name]

    def counts(self, line):
        """daemon counts NAME N, or NAME over N: for times, which nobody can say exactly."""
        name, least = line.word(0), int(line.words[-1])
        self.play.settle()
        self.play.wait(lambda: self.grown(name) >= least, f'{name} to grow by {least}')
        require(line.has('over') or self.grown(name) == least, f'{name} has grown by {self.grown(name)}, not {least}')
