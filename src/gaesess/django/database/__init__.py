"""The Django application that has the table of `gaesess.stores.django.DjangoStore`."""
